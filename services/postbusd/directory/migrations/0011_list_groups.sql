-- Groups as members of lists: whoever is in the group gets what is sent to the list.

CREATE TABLE directory.list_group (
    list_id uuid NOT NULL REFERENCES directory.mailing_list (list_id) ON DELETE CASCADE,
    group_id uuid NOT NULL REFERENCES directory.user_group (group_id) ON DELETE CASCADE,
    PRIMARY KEY (list_id, group_id)
);
CREATE INDEX list_group_group ON directory.list_group (group_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON directory.list_group TO postbus_directory;

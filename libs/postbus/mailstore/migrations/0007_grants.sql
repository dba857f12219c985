-- Who may call what: functions only, no table rights (architecture §2).

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA mailstore FROM PUBLIC;
GRANT USAGE ON SCHEMA mailstore TO postbus_delivery, postbus_imap_gateway, postbus_indexer, postbus_directory;

GRANT EXECUTE ON FUNCTION mailstore.append_v1 TO postbus_delivery, postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.list_folders_v1 TO postbus_delivery, postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.create_folder_v1 TO postbus_delivery, postbus_imap_gateway;

GRANT EXECUTE ON FUNCTION mailstore.ensure_mailbox_v1 TO postbus_directory;
GRANT EXECUTE ON FUNCTION mailstore.usage_v1 TO postbus_directory, postbus_delivery, postbus_imap_gateway;

GRANT EXECUTE ON FUNCTION mailstore.delete_folder_v1 TO postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.rename_folder_v1 TO postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.set_subscribed_v1 TO postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.heads_v1 TO postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.load_entries_v1 TO postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.load_changes_v1 TO postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.fetch_messages_v1 TO postbus_imap_gateway, postbus_indexer;
GRANT EXECUTE ON FUNCTION mailstore.fetch_envelopes_v1 TO postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.store_flags_v1 TO postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.expunge_v1 TO postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.copy_v1 TO postbus_imap_gateway;

GRANT EXECUTE ON FUNCTION mailstore.pending_v1 TO postbus_indexer;
GRANT EXECUTE ON FUNCTION mailstore.pending_of_v1 TO postbus_indexer, postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.indexed_v1 TO postbus_indexer;
GRANT EXECUTE ON FUNCTION mailstore.index_failed_v1 TO postbus_indexer;

GRANT EXECUTE ON FUNCTION mailstore.claim_outbox_v1 TO postbus_delivery;
GRANT EXECUTE ON FUNCTION mailstore.delete_outbox_v1 TO postbus_delivery;
GRANT EXECUTE ON FUNCTION mailstore.trim_history_v1 TO postbus_delivery;

-- Masquerading: whoever logs in with a mailbox of the domain may send as any address of it. Off until it is switched on.

ALTER TABLE directory.domain ADD COLUMN masquerading boolean NOT NULL DEFAULT false;

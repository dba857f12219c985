"""Schema `directory` in Postgres: all SQL of this service stands in adapters/postgres_*.py."""

from postbusd.directory.adapters.postgres_read import PostgresReader
from postbusd.directory.adapters.postgres_write import PostgresWriter


class PostgresDirectory(PostgresReader, PostgresWriter):
    """The DirectoryRepository of directory."""

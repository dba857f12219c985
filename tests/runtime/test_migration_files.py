"""Discovery and choice of migration files; the SCRAM verifier. The migrator itself: integration/test_migrate.py."""

import hashlib
from pathlib import Path

import pytest

from postbus.core.errors import ErrorKind, MailError
from postbus.runtime.migrate import MigrationFile, MigrationFolder, choose_pending, read_folder
from postbus.runtime.roles import read_password, scram_verifier


def write(folder: Path, name: str, sql: str = "SELECT 1;") -> MigrationFolder:
    (folder / name).write_text(sql)
    return MigrationFolder(owner="demo", path=folder)


def file(name: str, sql: str = "x") -> MigrationFile:
    return MigrationFile(owner="demo", name=name, sql=sql, checksum=hashlib.sha256(sql.encode()).hexdigest())


def test_files_come_in_order_with_their_checksums(tmp_path: Path) -> None:
    write(tmp_path, "0002_b.sql", "SELECT 2;")
    folder = write(tmp_path, "0001_a.sql")
    files = read_folder(folder)
    assert [each.name for each in files] == ["0001_a.sql", "0002_b.sql"]
    assert files[1].checksum == hashlib.sha256(b"SELECT 2;").hexdigest()


@pytest.mark.parametrize("name", ["1_a.sql", "0001-a.sql", "0001_A.sql", "init.sql"])
def test_a_file_with_another_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MailError, match=name):
        read_folder(write(tmp_path, name))


def test_a_number_used_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql")
    with pytest.raises(MailError, match=r"0001_b\.sql: the number is taken by 0001_a\.sql"):
        read_folder(write(tmp_path, "0001_b.sql"))


@pytest.mark.parametrize("statement", ["BEGIN;", "  commit ;", "START TRANSACTION;", "ROLLBACK;"])
def test_a_file_must_not_control_transactions(tmp_path: Path, statement: str) -> None:
    with pytest.raises(MailError, match="transactions"):
        read_folder(write(tmp_path, "0001_a.sql", f"SELECT 1;\n{statement}\n"))


def test_the_begin_of_a_function_is_no_transaction(tmp_path: Path) -> None:
    sql = "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n  PERFORM 1;\nEND;\n$$;"
    assert len(read_folder(write(tmp_path, "0001_a.sql", sql))) == 1


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MailError, match="no such folder"):
        read_folder(MigrationFolder(owner="demo", path=tmp_path / "nowhere"))


def test_only_new_files_are_pending() -> None:
    files = [file("0001_a.sql"), file("0002_b.sql")]
    assert choose_pending(files, {("demo", "0001_a.sql"): files[0].checksum}) == [files[1]]
    assert choose_pending(files, {("other", "0009_z.sql"): ""}) == files


def test_a_changed_applied_file_is_named() -> None:
    with pytest.raises(MailError, match=r"demo/0001_a\.sql: was applied") as raised:
        choose_pending([file("0001_a.sql")], {("demo", "0001_a.sql"): "other"})
    assert raised.value.kind is ErrorKind.CONFLICT


def test_a_new_file_below_an_applied_one_is_refused() -> None:
    with pytest.raises(MailError, match=r"demo/0001_a\.sql: is new but comes before 0002_b\.sql"):
        choose_pending([file("0001_a.sql")], {("demo", "0002_b.sql"): "x"})


def test_files_of_a_newer_version_are_left_alone() -> None:
    known = file("0001_a.sql")
    assert choose_pending([known], {("demo", known.name): known.checksum, ("demo", "0002_newer.sql"): "x"}) == []


def test_scram_verifier_matches_rfc7677_section_3() -> None:
    import base64

    # RFC 7677 §3: user "user", password "pencil"; ServerSignature and ClientProof derive from these keys.
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = scram_verifier("pencil", salt)
    head, keys = verifier.removeprefix("SCRAM-SHA-256$").split("$")
    assert head == "4096:W22ZaJ0SNY7soEsUEjb6gQ=="
    server_key = base64.b64decode(keys.split(":")[1])
    auth_message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    import hmac

    signature = hmac.digest(server_key, auth_message, "sha256")
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MailError, match="postgres-filter: No such file"):
        read_password(tmp_path, "filter")
    (tmp_path / "postgres-filter").write_text("\n")
    with pytest.raises(MailError, match="not empty"):
        read_password(tmp_path, "filter")

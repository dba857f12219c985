"""The administrator's commands over the fake; integration/test_directory_postgres.py runs them over Postgres."""

import pytest

from postbus.testing.directory_office import Office
from postbus.testing.directory_office_access import PasswordResetContract, SecondFactorContract, SignInContract
from postbus.testing.directory_office_addresses import AliasCommandsContract, ListCommandsContract
from postbus.testing.directory_office_app_passwords import AppPasswordContract
from postbus.testing.directory_office_archive import ArchiveContract
from postbus.testing.directory_office_contract import DomainCommandsContract, MailboxCommandsContract
from postbus.testing.directory_office_mail_server import MailServerContract
from postbus.testing.directory_office_people import AppCommandsContract, GroupCommandsContract, UserCommandsContract
from postbus.testing.directory_office_policy import PolicyCommandsContract
from postbus.testing.directory_office_provider import IdentityProviderContract, TokenLoginContract
from postbus.testing.directory_office_roles import ConditionContract, ScopeContract
from postbus.testing.directory_office_settings import SettingsContract


@pytest.fixture
def office() -> Office:
    return Office()


class TestDomains(DomainCommandsContract):
    pass


class TestMailboxes(MailboxCommandsContract):
    pass


class TestUsers(UserCommandsContract):
    pass


class TestGroups(GroupCommandsContract):
    pass


class TestApps(AppCommandsContract):
    pass


class TestAliases(AliasCommandsContract):
    pass


class TestLists(ListCommandsContract):
    pass


class TestScope(ScopeContract):
    """Over the fake."""


class TestConditions(ConditionContract):
    """Over the fake."""


class TestSettings(SettingsContract):
    """Over the fake."""


class TestMailServer(MailServerContract):
    """Over the fake."""


class TestAppPasswords(AppPasswordContract):
    """Over the fake."""


class TestPolicy(PolicyCommandsContract):
    """Over the fake."""


class TestIdentityProvider(IdentityProviderContract):
    """Over the fake."""


class TestTokenLogin(TokenLoginContract):
    """Over the fake."""


class TestArchive(ArchiveContract):
    """Over the fake."""


class TestSignIns(SignInContract):
    """Over the fake."""


class TestSecondFactors(SecondFactorContract):
    """Over the fake."""


class TestPasswordResets(PasswordResetContract):
    """Over the fake."""

"""The administrator's commands: one module a noun.

Names and limits are checked before anything is asked, scope by the actor (architecture §6); what depends on the state
of things is decided by `rules`, in the transaction that writes.
"""

from postbusd.directory.administration.aliases import Aliases
from postbusd.directory.administration.app_passwords import AppPasswordsDesk
from postbusd.directory.administration.apps import Apps
from postbusd.directory.administration.archive import Archive
from postbusd.directory.administration.desk import Tell, Tools
from postbusd.directory.administration.domains import Domains
from postbusd.directory.administration.groups import Groups
from postbusd.directory.administration.identity_providers import IdentityProviders
from postbusd.directory.administration.imports import Imports
from postbusd.directory.administration.lists import Lists
from postbusd.directory.administration.mailboxes import Mailboxes
from postbusd.directory.administration.own_password import OwnPasswords
from postbusd.directory.administration.policies import Policies
from postbusd.directory.administration.sign_ins import SignIns
from postbusd.directory.administration.standings import Standings
from postbusd.directory.administration.users import Users

__all__ = ["Administration", "Tell", "Tools"]


class Administration(
    Domains,
    Mailboxes,
    Imports,
    Archive,
    Users,
    Groups,
    Apps,
    Aliases,
    Lists,
    Policies,
    AppPasswordsDesk,
    OwnPasswords,
    SignIns,
    IdentityProviders,
    Standings,
):
    """The DirectoryAdmin of directory."""

"""Smart hosts that many use: where they listen, how one logs in, what to set up there first, what their refusals mean.

Facts are those of the providers' own manuals, of 2026.
"""

import re
from typing import Final

import msgspec


class RelayPreset(msgspec.Struct, frozen=True, kw_only=True):
    """A provider of outgoing mail."""

    name: str
    title: str
    host: str
    """`{region}` stands for one of `regions`, `{domain}` for the domain with dashes in place of its dots."""
    port: int
    security: str
    """starttls or tls."""
    login: bool
    """Whether it takes a username and a password."""
    username: str = ""
    """Always this one; empty: one's own."""
    regions: tuple[str, ...] = ()
    """The first is the default; others may exist."""
    spf: str = ""
    """What to include in the domain's SPF record; empty: nothing."""
    steps: tuple[str, ...]
    """To do at the provider, in order."""

    def host_for(self, domain: str, region: str = "") -> str:
        """The host of a domain. `region` empty: the default one."""
        chosen = region or (self.regions[0] if self.regions else "")
        return self.host.replace("{region}", chosen).replace("{domain}", domain.replace(".", "-"))


RELAY_PRESETS: Final = (
    RelayPreset(
        name="ses",
        title="Amazon SES",
        host="email-smtp.{region}.amazonaws.com",
        port=587,
        security="starttls",
        login=True,
        regions=("us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-1", "ap-southeast-2"),
        steps=(
            (
                "Create an identity of type domain (an address identity lets a single sender through) and publish its "
                "CNAME records."
            ),
            (
                "Set a custom MAIL FROM domain, say bounce.<domain>, with its MX and SPF records: DMARC alignment by "
                "SPF needs it."
            ),
            "Create SMTP credentials in the account dashboard; the IAM user's policy must allow ses:SendRawEmail.",
            "Ask for production access: in the sandbox SES delivers to verified addresses only.",
        ),
    ),
    RelayPreset(
        name="sendgrid",
        title="Twilio SendGrid",
        host="smtp.sendgrid.net",
        port=587,
        security="starttls",
        login=True,
        username="apikey",
        steps=(
            (
                "Authenticate the domain (Sender Authentication, Authenticate Your Domain) and publish its CNAME "
                "records; a verified single sender lets one address through."
            ),
            "Create an API key with Mail Send permission: it is the password, the username is the word apikey.",
        ),
    ),
    RelayPreset(
        name="postmark",
        title="Postmark",
        host="smtp.postmarkapp.com",
        port=587,
        security="starttls",
        login=True,
        steps=(
            (
                "Add the domain under Sender Signatures as a domain, not as a single signature; publish its DKIM and "
                "Return-Path records."
            ),
            "Take a Server API token: it is both the username and the password.",
            "Ask for approval of the account: before, recipients must be of the sender's domain.",
        ),
    ),
    RelayPreset(
        name="mailgun",
        title="Mailgun",
        host="smtp.{region}mailgun.org",
        port=587,
        security="starttls",
        login=True,
        regions=("", "eu."),
        spf="mailgun.org",
        steps=(
            (
                "Add and verify the domain: its SPF and DKIM records; the sandbox domain delivers to authorized "
                "recipients only."
            ),
            "Take the domain's SMTP credentials (the username looks like an address). Region eu. is the EU's.",
        ),
    ),
    RelayPreset(
        name="google",
        title="Google Workspace",
        host="smtp-relay.gmail.com",
        port=587,
        security="starttls",
        login=True,
        spf="_spf.google.com",
        steps=(
            (
                "Switch on the SMTP relay service in the Admin console (Gmail, Routing): allow addresses of your "
                "domains, require SMTP authentication and TLS."
            ),
            (
                "Log in as a user of the domain with an app password, which needs 2-step verification; the account's "
                "own password is refused."
            ),
        ),
    ),
    RelayPreset(
        name="office365",
        title="Microsoft 365",
        host="{domain}.mail.protection.outlook.com",
        port=25,
        security="starttls",
        login=False,
        spf="spf.protection.outlook.com",
        steps=(
            "The host is the MX that the Microsoft 365 admin center shows for the domain.",
            (
                "Add a connector from your own mail server to Microsoft 365 (Exchange admin center, Mail flow), "
                "which knows this server by its fixed IP address or by its certificate."
            ),
            "Port 25 must be open to the outside, and the address must have a PTR record.",
        ),
    ),
)

_ADVICE: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (
            r"Email address is not verified|identities failed the check",
            (
                "SES does not know the sender or, in the sandbox, the recipient: verify the domain as an identity of "
                "this region, and ask for production access."
            ),
        ),
        (
            r"not authorized to perform .?ses:",
            "The IAM user of these credentials may not send: its policy must allow ses:SendRawEmail.",
        ),
        (
            r"Authentication Credentials Invalid",
            "SES takes SMTP credentials of this region, not the access key of an IAM user.",
        ),
        (
            r"Daily message quota exceeded|Maximum sending rate exceeded|Daily user sending (?:limit|quota) exceeded",
            "The account's sending limit is reached: ask the provider for a higher one; mail waits meanwhile.",
        ),
        (
            (
                r"(?:log in|login) (?:via|with) your web browser|Application-specific password required"
                r"|BadCredentials|Username and Password not accepted"
            ),
            "Google refuses the account's own password: make an app password (2-step verification must be on).",
        ),
        (
            r"Invalid credentials for relay|Mail relay denied",
            (
                "Google's SMTP relay service does not know this server: allow its address or authentication in the "
                "Admin console, and send as a domain of the account."
            ),
        ),
        (
            r"from address does not match a verified Sender Identity",
            "SendGrid knows a single sender at most: authenticate the whole domain.",
        ),
        (
            r"Maximum credits exceeded",
            "The SendGrid plan's messages are used up.",
        ),
        (
            r"Sandbox subdomains are for test purposes|Free accounts are for test purposes",
            "Mailgun's sandbox delivers to authorized recipients only: add the domain itself, or upgrade the account.",
        ),
        (
            r"not a Sender Signature on your account",
            "Postmark does not know the sender: add the whole domain under Sender Signatures.",
        ),
        (
            r"pending approval.*recipient",
            "Postmark has not approved the account: until then recipients must be of the sender's domain.",
        ),
        (
            r"5\.7\.64|TenantAttribution",
            "Microsoft 365 has no connector that fits: add one which knows this server's address or certificate.",
        ),
        (
            r"SmtpClientAuthentication is disabled|5\.7\.57\b|5\.7\.139\b",
            "Microsoft 365 takes no passwords by SMTP: use a connector on port 25 without a login.",
        ),
        (
            r"5\.7\.60[0-9]\b.*banned|S3140|S3150",
            "Microsoft has blocked this server's address: ask for its removal at the address that the reply names.",
        ),
        (
            r"certificate is not valid",
            (
                "The host's certificate does not prove its name: use the name that it is for, or give the private CA "
                "in POSTBUS_DELIVERY_RELAY_CA_FILE."
            ),
        ),
        (
            r"offers no STARTTLS",
            "Implicit TLS is spoken on port 465: --relay-security tls. A host without TLS takes no password of ours.",
        ),
        (
            r"^535|5\.7\.8\b|AuthenticationFailed|offers neither AUTH",
            "Username or password is wrong, or the account may not send by SMTP.",
        ),
        (
            r"no connection to .*(?:timed out|out of time|unreachable|refused)",
            "Nothing answers there: host and port right? Many networks close port 25; 587 and 465 are mostly open.",
        ),
    )
)


def advise(reply: str) -> str:
    """What to do about a refusal by a smart host, in one sentence; empty: not known."""
    return next((advice for pattern, advice in _ADVICE if pattern.search(reply)), "")

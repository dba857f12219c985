"""dns-provisioner's port: certificates, DKIM keys and plans, each with a part of its own."""

from postbus.contracts.dns_provisioner import (
    GetDkimKeysReply,
    GetDkimKeysRequest,
    ListCertificatesReply,
    ListCertificatesRequest,
    PlanDomainReply,
    PlanDomainRequest,
)
from postbusd.dns_provisioner.keyring import DkimKeyring
from postbusd.dns_provisioner.planner import DomainPlanner
from postbusd.dns_provisioner.provisioner import CertificateProvisioner


class DnsProvisionerService:
    """Implements `postbus.contracts.dns_provisioner.DnsProvisioner`."""

    def __init__(self, certificates: CertificateProvisioner, keyring: DkimKeyring, planner: DomainPlanner) -> None:
        self._certificates = certificates
        self._keyring = keyring
        self._planner = planner

    async def list_certificates(self, request: ListCertificatesRequest) -> ListCertificatesReply:
        """See `CertificateSource.list_certificates`."""
        return await self._certificates.list_certificates(request)

    async def get_dkim_keys(self, request: GetDkimKeysRequest) -> GetDkimKeysReply:
        """See `DkimKeySource.get_dkim_keys`."""
        return await self._keyring.get_dkim_keys(request)

    async def plan_domain(self, request: PlanDomainRequest) -> PlanDomainReply:
        """See `DnsPlanner.plan_domain`."""
        return await self._planner.plan_domain(request)

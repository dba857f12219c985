"""directory as a client of an identity provider: OpenID Connect Core 1.0, Discovery 1.0, RFC 6749, 7636, 7662, 9068."""

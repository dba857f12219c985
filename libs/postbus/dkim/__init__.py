"""DKIM signing (RFC 6376, RFC 8463); verification is filter's."""

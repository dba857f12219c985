"""DKIM signing (RFC 6376, RFC 8463); verification is filter's.

Both are written apart on purpose: each is tested against the other and against dkimpy.
"""

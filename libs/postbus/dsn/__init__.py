"""Delivery status notifications (RFC 3464): composed here, sent by delivery."""

"""Readers to which a bad record is a bad record, and a damaged file one that is read so far."""

from .readers import HtmlReader, tolerant

__all__ = ["HtmlReader", "tolerant"]

"""Files that last: written whole or not at all, found again by the digest of what decides them."""

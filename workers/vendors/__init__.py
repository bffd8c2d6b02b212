"""The vendors' APIs: one module each over one small HTTP layer."""

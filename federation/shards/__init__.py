"""The shards of a federation: pulling and keeping their aggregates, publishing globals to them."""

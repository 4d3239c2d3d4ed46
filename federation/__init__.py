"""Federation: learns from many shards what no single one can see."""

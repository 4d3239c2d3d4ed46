"""What both sides of a pull share: aggregates, fixed-point sums, clusters, trends and terms."""

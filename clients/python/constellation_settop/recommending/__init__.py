"""Learning from views and recommending content. Nothing here uses the network."""

"""Learning from views and recommending content, on the device alone."""

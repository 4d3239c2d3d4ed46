"""What surrounds every gRPC call: error statuses, counters and spans."""

"""What the running service shows of itself: the page, /metrics, /healthz and /readyz."""

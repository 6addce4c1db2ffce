"""The Serve deployments that run models on workers."""

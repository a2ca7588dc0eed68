"""Trained pipelines at work: the HTTP service, its metrics, annotation in bulk."""

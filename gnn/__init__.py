"""Embeddings of entities by a graph network, and a light head over them. Serving imports no torch: `gnn.net` and `gnn.train` do."""

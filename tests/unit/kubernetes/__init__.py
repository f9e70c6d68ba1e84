"""deploy/kubernetes as `kubectl apply -k` would send it: rendered by kustomize, and held against schemas and Weir."""

"""Figures from a real Kubernetes with KubeRay: `make bench-kube KUBECONFIG=...`."""

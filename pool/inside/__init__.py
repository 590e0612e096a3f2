"""What runs inside a cluster, with the cluster's own Ray and nothing else of ours: it is sent there as text."""

"""What bounds a sandbox beside its namespaces: control groups, the watch of a disk, the watch of processes."""

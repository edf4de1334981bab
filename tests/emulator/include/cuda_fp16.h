// Stands in for the toolkit's header, which nccl.h includes: nothing here has halves from it.

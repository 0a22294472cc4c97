"""What was counted of the rows that were served: cut into windows of time, kept over restarts, judged and told."""

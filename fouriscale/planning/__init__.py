"""What will be done: the plan, its cost, and its words."""

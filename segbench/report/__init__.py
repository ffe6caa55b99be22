"""Records to tables. The only place where numbers are rounded."""

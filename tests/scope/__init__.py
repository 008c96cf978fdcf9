"""TaskScope: the law, clause by clause."""

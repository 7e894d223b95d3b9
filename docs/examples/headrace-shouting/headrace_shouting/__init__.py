"""A source, a rule, a kind of model and a task of evaluation, in a package of their own."""

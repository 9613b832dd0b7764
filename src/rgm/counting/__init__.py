"""The closed-form model: a tree of categorical variables, learned by counting, its inference exact."""

"""The closed-form model: a tree of categorical variables with exact inference, fitted by counting."""

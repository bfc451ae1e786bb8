"""The programs, each a function of `pd` (the module with pandas' API) and of the tables it works on."""

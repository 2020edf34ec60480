"""``sluiceway-agent import``: others' configurations as options and objects of ours."""

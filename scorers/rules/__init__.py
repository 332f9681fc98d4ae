"""Rules that people write: conditions over features and event fields, in YAML, with modes, fixtures and versions.

`parse_rules` reads a file and gives a `RuleSet`, or everything wrong with it, each with its line and column. A `RuleBook`
holds the set in force and takes a changed file over between batches. The scorer is `scorers/detectors/rules.py`.
"""

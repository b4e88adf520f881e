"""The page that `tinybert evaluate --report` writes: figures, charts, and the questions one by one."""

"""The offline twin of drift's judgement: rows of files, a clock that is theirs, and the server's own judge."""

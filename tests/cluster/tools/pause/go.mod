module tunebench.dev/tests/tools/pause

go 1.25.0

#!/usr/bin/env bash
# Shows a transaction log: `oxkeeper dump` knows what each file is, and so does the other toolkit's script.

exec "$(dirname "${BASH_SOURCE[0]}")/zkSnapShotToolkit.sh" "$@"

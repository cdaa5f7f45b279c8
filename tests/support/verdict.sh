# shellcheck shell=sh
# For the tests that are shell scripts: what they run writes into $scratch/said, and they end with `exit $failed`.
failed=0

verdict() { # STATUS NAME [FILE]: when the status is not 0, the end of FILE is shown
    if [ "$1" = 0 ]; then
        echo "ok $2"
    else
        echo "not ok $2:"
        tail -n 30 "${3:-$scratch/said}" | sed 's/^/    /'
        failed=1
    fi
}

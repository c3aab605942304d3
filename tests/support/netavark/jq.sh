#!/bin/sh
# jq before 1.7 does not take `.a.[0]`, which is `.a[0]`.
for word; do
    shift
    case $word in
    .?*.'['*) word=$(printf %s "$word" | sed 's/\(.\)\.\[/\1[/g') ;;
    esac
    set -- "$@" "$word"
done
exec /usr/bin/jq "$@"

# Bash completion for alknet. The program itself says what may follow, asking the remote of the line (complete.c).
#
# What the remote sends is only offered, never expanded: compgen -W, which would expand it, is not used.

_alknet() {
    local program=$1 line=${COMP_LINE:0:COMP_POINT} current='' cut='' prefix candidate words
    COMPREPLY=()
    # Whole words: bash itself would cut a URL at its colons.
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    current=${words[-1]}
    # But it replaces only what stands behind the last character that ends a word for it.
    [[ -n ${COMP_WORDBREAKS-} && $current == *["$COMP_WORDBREAKS"]* ]] && cut=${current%"${current##*["$COMP_WORDBREAKS"]}"}
    while IFS= read -r candidate; do
        if [[ $candidate == :files* ]]; then
            prefix=${candidate#:files }
            compopt -o filenames 2>/dev/null
            while IFS= read -r candidate; do
                candidate=$prefix$candidate
                COMPREPLY+=("${candidate#"$cut"}")
            done < <(compgen -f -- "${current#"$prefix"}")
        else
            [[ $candidate == *[=.] ]] && compopt -o nospace 2>/dev/null
            COMPREPLY+=("${candidate#"$cut"}")
        fi
    done < <("$program" complete "${words[@]:1}" 2>/dev/null </dev/null)
} && complete -F _alknet alknet

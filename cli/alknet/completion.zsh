#compdef alknet
# Zsh completion for alknet. The program itself says what may follow, asking the remote of the line (complete.c).

_alknet() {
    local candidate program=${(Q)words[1]}
    local -a whole open
    for candidate in ${(f)"$("$program" complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)"}; do
        case $candidate in
        :files*)
            compset -P "${(b)${candidate#:files }}"
            _files
            ;;
        *[=.]) open+=("$candidate") ;;
        *) whole+=("$candidate") ;;
        esac
    done
    (( $#whole )) && compadd -a whole
    (( $#open )) && compadd -S '' -a open
}

_alknet "$@"

# bash completion for vicmae, vicmae-sweep and vicmae-results. Asks the programs themselves, so it knows what they know.

_vicmae_commands() { # PROGRAM: the first words of --help's two-space tables
    "$1" --help 2> /dev/null | sed -n '/^Examples/q; s/^  \([a-z][a-z-]*\)  *[^ ].*/\1/p'
}

_vicmae_options() { # PROGRAM [COMMAND]: --name, and --name= where a value follows
    "$@" --help 2> /dev/null | grep -oE '^ +(-., +)?--[a-z][a-z-]*=?' | grep -oE -e '--[a-z][a-z-]*=?'
}

_vicmae_keys() { # PROGRAM PROTOCOL...: key= of every option
    local program=$1 protocol
    shift
    for protocol; do
        "$program" options "$protocol" 2> /dev/null | sed -n 's/^  \{0,1\}\([a-z][a-z0-9_.]*\) .*/\1=/p'
    done
}

_vicmae_reply() { # WORDS: those that begin as the current word does; no space behind a final =
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current")
    if [ "${#COMPREPLY[@]}" = 1 ] && [[ ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2> /dev/null
    fi
}

_vicmae_files() { # files that end in one of $1 (an extended pattern), and folders
    local file
    mapfile -t COMPREPLY < <(compgen -f -- "$current" | while IFS= read -r file; do
        if [ -d "$file" ] || [[ $file =~ $1 ]]; then
            printf '%s\n' "$file"
        fi
    done)
    compopt -o filenames 2> /dev/null
}

_vicmae() {
    local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]:-}
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        _vicmae_reply "$(_vicmae_commands "$program") --help --version"
    elif [[ $current == -* ]]; then
        _vicmae_reply "$(_vicmae_options "$program" "$command")"
    else
        case $command in
        bench) _vicmae_reply "nano tiny small base large huge" ;;
        info) _vicmae_files '\.(safetensors|pth|pt)$' ;;
        options) _vicmae_reply "$(_vicmae_commands "$program")" ;;
        *)
            _vicmae_files '\.cfg$'
            if [ "${#COMPREPLY[@]}" = 0 ]; then
                _vicmae_reply "$(_vicmae_keys "$program" "$command")"
            fi
            ;;
        esac
    fi
}

_vicmae_sweep() {
    local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    if [[ $current == -* ]]; then
        _vicmae_reply "$(_vicmae_options "$program")"
    elif [ "${COMP_WORDS[COMP_CWORD - 1]}" = -s ] || [[ ${COMP_WORDS[COMP_CWORD - 1]} == --scale ]]; then
        _vicmae_reply "demo small paper"
    else
        _vicmae_files '\.cfg$'
        if [ "${#COMPREPLY[@]}" = 0 ]; then
            _vicmae_reply "$(_vicmae_keys "${program%-sweep}" pretrain probe)"
        fi
    fi
}

_vicmae_sql() { # PROGRAM QUERY: its rows, from the default database as it is
    "$1" sql --csv --no-ingest "$2" 2> /dev/null | tail -n +2
}

_vicmae_results() {
    local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]:-}
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        _vicmae_reply "$(_vicmae_commands "$program") --help --version"
        return
    fi
    case $command/${COMP_WORDS[COMP_CWORD - 1]} in
    */--root | */-r | plot/--output | plot/-o) _vicmae_files '^$' ;;
    */--db | */-d) _vicmae_files '\.db$' ;;
    plot/--format | plot/-f) _vicmae_reply "svg png dumb" ;;
    */--format | */-f) _vicmae_reply "text md latex csv json" ;;
    list/--status | list/-t) _vicmae_reply "running stopped done failed diverged interrupted" ;;
    list/--sweep | list/-s) _vicmae_reply "$(_vicmae_sql "$program" "SELECT DISTINCT name FROM sweeps")" ;;
    *)
        if [[ $current == -* ]]; then
            _vicmae_reply "$(_vicmae_options "$program" "$command")"
            return
        fi
        case $command in
        show | diff | compare | export | dump-metrics)
            _vicmae_reply "$(_vicmae_sql "$program" "SELECT id FROM runs ORDER BY id DESC LIMIT 200")"
            ;;
        table | plot) _vicmae_reply "$(_vicmae_sql "$program" "SELECT DISTINCT name FROM sweeps")" ;;
        paper) _vicmae_reply "table1 table2 table3a table3b table3c table4 text" ;;
        ingest) _vicmae_files '^$' ;;
        esac
        ;;
    esac
}

complete -F _vicmae vicmae
complete -F _vicmae_sweep vicmae-sweep
complete -F _vicmae_results vicmae-results

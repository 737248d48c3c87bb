# Completion of ringrelay's options for bash. A test compares them with `ringrelay -h`.
_ringrelay() {
    local words='-config -check -v -log-format -version -h -help'
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    # Bash makes a word of the "=" in -config=FILE.
    if [[ $word == = ]]; then
        word=
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if ((COMP_CWORD == 1)); then
        words="top $words"
    elif [[ ${COMP_WORDS[1]} == top ]]; then
        words='-config -interval -once -ascii -ca-file -client-pem -skip-tls-verification -h -help'
    fi
    case ${before#-} in
        config | -config | ca-file | -ca-file | client-pem | -client-pem)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            ;;
        log-format | -log-format)
            mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$word")
            ;;
        interval | -interval)
            mapfile -t COMPREPLY < <(compgen -W '1s' -- "$word")
            ;;
        *)
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
            ;;
    esac
}
complete -F _ringrelay ringrelay influxdb-relay

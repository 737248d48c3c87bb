# Completion of ringrelay's options for bash. A test compares them with `ringrelay -h`.
_ringrelay() {
    local first='' word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    # Bash makes a word of the "=" in -config=FILE.
    if [[ $word == = ]]; then
        word=
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    ((COMP_CWORD > 1)) || first=top
    case ${before#-} in
        config | -config)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            ;;
        log-format | -log-format)
            mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$word")
            ;;
        *)
            mapfile -t COMPREPLY < <(
                compgen -W "$first -config -check -v -log-format -version -h -help" -- "$word"
            )
            ;;
    esac
}
complete -F _ringrelay ringrelay influxdb-relay

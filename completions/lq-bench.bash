# Made by lq-bench --generate bash; do not edit.
_lq_bench() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local words command=${COMP_WORDS[1]}
  case "$command" in
    *)
      case "$prev" in
        -p|--n-prompt) COMPREPLY=(); return ;;
        -n|--n-gen) COMPREPLY=(); return ;;
        -t|--threads) COMPREPLY=(); return ;;
        -r|--repetitions) COMPREPLY=(); return ;;
        -o|--output) COMPREPLY=($(compgen -W 'md json' -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--n-prompt --n-gen --threads --repetitions --output --no-hash --json --color --quiet --help --version' ;;
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _lq_bench lq-bench

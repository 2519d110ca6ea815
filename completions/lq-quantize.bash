# Made by lq-quantize --generate bash; do not edit.
_lq_quantize() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local words command=${COMP_WORDS[1]}
  case "$command" in
    *)
      case "$prev" in
        -t|--threads) COMPREPLY=(); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--threads --force --json --color --quiet --help --version' ;;
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _lq_quantize lq-quantize

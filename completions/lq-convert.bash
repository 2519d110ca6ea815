# Made by lq-convert --generate bash; do not edit.
_lq_convert() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local words command=${COMP_WORDS[1]}
  case "$command" in
    inspect)
      case "$prev" in
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--metadata --tensors --tokens --json --color --quiet --help --version' ;;
    to-hf)
      case "$prev" in
        -o|--output) COMPREPLY=(); return ;;
        --outtype) COMPREPLY=($(compgen -W 'auto bf16 f16 f32' -- "$cur")); return ;;
        --max-shard-size) COMPREPLY=(); return ;;
        -t|--threads) COMPREPLY=(); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--output --outtype --max-shard-size --dry-run --threads --force --json --color --quiet --help --version' ;;
    *)
      case "$prev" in
        -o|--outfile|--output) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --outtype) COMPREPLY=($(compgen -W 'auto f32 f16 bf16 q8_0' -- "$cur")); return ;;
        --name) COMPREPLY=(); return ;;
        --metadata) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --pre) COMPREPLY=(); return ;;
        --mem) COMPREPLY=(); return ;;
        -t|--threads) COMPREPLY=(); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--outfile --output --outtype --vocab-only --name --metadata --pre --compat --mem --dry-run --list --threads --force --json --color --quiet --help --version' ;;
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  elif [[ $COMP_CWORD == 1 ]]; then
    COMPREPLY=($(compgen -W 'inspect to-hf' -f -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _lq_convert lq-convert
